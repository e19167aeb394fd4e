"""Throwaway etcd servers, in which Patroni keeps who leads."""

from __future__ import annotations

from sillar.testing.servers import rest
from sillar.testing.servers.installation import Installation, find_etcd
from sillar.testing.servers.port import PortReservation
from sillar.testing.servers.server import Server


class EtcdServer(Server):
    """A throwaway etcd of one member; its attributes are those of `Server`. It is never taken from the environment."""

    product = "etcd"
    system_user = "etcd"
    url_variable = ""

    def __init__(self) -> None:
        super().__init__(own=True)
        self._peer: PortReservation | None = None

    @property
    def url(self) -> str:
        """``http://host:port`` for clients."""
        return f"http://{self.host}:{self.port}"

    async def close(self) -> None:
        """End it for good and remove its folder."""
        await super().close()
        if self._peer is not None:
            self._peer.release()
            self._peer = None

    def _find(self) -> Installation:
        return find_etcd()

    def _reserve_port(self) -> None:
        super()._reserve_port()
        if self._peer is not None:
            self._peer.release()
        self._peer = PortReservation()

    async def _create(self) -> None:
        self._make_folder("data")

    def _command(self) -> list[str]:
        assert self._peer is not None
        peers = f"http://{self.host}:{self._peer.port}"
        options = {
            "name": "only",
            "data-dir": str(self._path / "data"),
            "listen-client-urls": self.url,
            "advertise-client-urls": self.url,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"only={peers}",
        }
        return [self._binaries.binary("etcd"), *(f"--{name}={value}" for name, value in options.items())]

    @property
    def _environment(self) -> dict[str, str]:
        # Not tested by its makers, and it wants to hear that we know.
        return {"ETCD_UNSUPPORTED_ARCH": "arm64"}

    async def _ask_version(self) -> str:
        _, health = await rest.ask(self.host, self.port, "/health")
        if health != {"health": "true"}:
            raise ConnectionError(f"etcd is not healthy: {health}")
        _, versions = await rest.ask(self.host, self.port, "/version")
        return str(versions["etcdserver"])
