"""`torchrun` whose processes meet on the loopback interface only: `python -m llama4lab.loopback_torchrun ... SCRIPT`.

The store through which the processes of `torchrun` find each other listens on every interface of the machine,
whatever `--master-addr` says. Here it is handed a socket that is bound to the loopback interface already.
"""

import socket
import sys

from torch.distributed import TCPStore
from torch.distributed.elastic.rendezvous import RendezvousParameters, rendezvous_handler_registry
from torch.distributed.elastic.rendezvous.static_tcp_rendezvous import StaticTCPRendezvous
from torch.distributed.run import main

LOOPBACK = "127.0.0.1"
BACKEND = "loopback"


class LoopbackRendezvous(StaticTCPRendezvous):
    """The meeting point of the processes of one machine, at a port that was free."""

    def __init__(self, parameters: RendezvousParameters):
        listener = socket.create_server((LOOPBACK, 0))
        port = listener.getsockname()[1]
        super().__init__(LOOPBACK, port, rank=0, world_size=1, run_id=parameters.run_id, timeout=60)
        self._store = TCPStore(
            LOOPBACK, port, 1, True, self.timeout, multi_tenant=True, master_listen_fd=listener.detach()
        )

    def get_backend(self) -> str:
        return BACKEND


if __name__ == "__main__":
    rendezvous_handler_registry.register(BACKEND, LoopbackRendezvous)
    main([f"--rdzv-backend={BACKEND}", *sys.argv[1:]])
