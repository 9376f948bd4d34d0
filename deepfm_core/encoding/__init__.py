"""Tables to tensors: fitted fields, vocabularies, crosses, splits."""
