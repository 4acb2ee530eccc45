"""Sessions of MongoDB for the pool: they share one client, which connects by itself."""

from peekaping_producer.errors import StoreUnavailableError
from peekaping_producer.stores.errors import error_prefix
from peekaping_producer.stores.limits import Limits
from peekaping_producer.stores.mongo_client import MongoDatabaseClient, connect
from peekaping_producer.stores.mongo_errors import translated
from peekaping_producer.stores.pool import Driver
from peekaping_producer.targets import DatabaseTarget


class MongoDriver(Driver[MongoDatabaseClient]):
    """All sessions share one client, which makes, checks and replaces its connections itself."""

    translated = staticmethod(translated)

    def __init__(self, target: DatabaseTarget, limits: Limits, size: int) -> None:
        super().__init__(target, limits)
        self._size = size
        self._client: MongoDatabaseClient | None = None
        MongoDatabaseClient(target, size, limits)  # raises ConfigError; it connects to nothing before its first read

    async def prepare(self) -> None:
        """Log in."""
        self._client = await connect(self.target, self._size, self.limits)

    async def connect(self) -> MongoDatabaseClient:
        """See Driver."""
        if self._client is None:
            raise StoreUnavailableError(f"{error_prefix(self.target)}: the store is not open")
        return self._client

    async def close(self) -> None:
        """Close the client; reads in progress fail."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
