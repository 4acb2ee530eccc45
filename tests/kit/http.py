"""Requests to the endpoint of a replica."""

from aiohttp import ClientSession, ClientTimeout


async def get(address: str, path: str) -> tuple[int, str]:
    """Status and body. Raises aiohttp.ClientError, or TimeoutError after 30 s."""
    async with ClientSession(timeout=ClientTimeout(30)) as session, session.get(f"http://{address}{path}") as response:
        return response.status, await response.text()
