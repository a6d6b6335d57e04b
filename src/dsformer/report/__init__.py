"""What a compression did: exact bytes, errors, and how they are shown."""

from dsformer.report.summary import BlockSummary, Summary, summarise

__all__ = ["BlockSummary", "Summary", "summarise"]
