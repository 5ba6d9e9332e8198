"""How requests come in: plain reads are answered at the door, everything else goes on to aiohttp's handler."""
