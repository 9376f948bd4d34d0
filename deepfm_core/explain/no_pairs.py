"""What is said of a run or a table in which no two fields can interact."""

from __future__ import annotations

from deepfm_core.data.schema import Kind, Schema


def why_no_pairs(schema: Schema) -> str:
    """Say why these roles have no pair and what to do; empty where they have one."""
    if schema.has_pairs:
        return ""
    dense = [role.column for role in schema.used if role.kind is Kind.DENSE]
    only = next((role.column for role in schema.used if role.kind is not Kind.DENSE), None)
    there = "there is none" if only is None else f"there is one, `{only}`"
    beside = " (a dense number has no embedding, so it interacts with none)" if dense else ""
    return f"No pairs: a pair takes two fields, and {there}{beside}. Give a second column a kind, and train with both."
