"""Tables, figures and one HTML page, made from records."""
