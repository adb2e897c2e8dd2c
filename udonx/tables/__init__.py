"""From stored evaluations to tables: seeds, intervals, differences, text, Markdown and CSV."""
