"""Other people's files to batches: sources of records, a report of what was left out, and the loader."""
