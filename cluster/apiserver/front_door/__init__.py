"""How requests come in: plain reads and writes are taken at the door, everything else goes on to aiohttp's handler."""
