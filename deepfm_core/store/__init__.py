"""Tables, runs, their events and the queue, in one folder that many processes may use at once."""
