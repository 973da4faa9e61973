"""Which image goes next. asyncio only."""
