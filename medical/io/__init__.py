"""Files of medical images: layouts, pairing, reading, writing; a data set is added here."""
