"""What comes from outside, read once and with bounds: documents, arrays, values, foreign code."""
