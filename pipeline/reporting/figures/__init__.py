"""The figures of the report: one colour, marker and dash per row; 32-bit rows have hollow marks."""
