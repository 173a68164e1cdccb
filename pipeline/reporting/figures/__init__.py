"""The figures of the report: one colour per row throughout, 32-bit rows dashed, 1-bit solid."""
