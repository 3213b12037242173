"""The charts, as plain data that plotly draws."""
