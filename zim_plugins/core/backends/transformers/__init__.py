"""SAM and its successors through Hugging Face transformers, by a folder or a name on the hub."""
