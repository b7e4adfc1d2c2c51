"""Addresses of the pages: the names they may be opened under, and their links to each other.

Stored links name no host and no port. They begin with the path of the other server's pages, and
whoever serves the pages knows where that server is when somebody follows them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

#: Names of this machine alone.
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

#: Addresses of the pages that people open, if a proxy serves them under another name.
PUBLIC_DAGSTER, PUBLIC_MLFLOW = "GLMHMM_PUBLIC_URL", "GLMHMM_PUBLIC_MLFLOW_URL"

#: Addresses at which both servers listen now; ``glmhmm ui`` tells the servers that it starts.
DAGSTER, MLFLOW = "GLMHMM_DAGSTER_URL", "GLMHMM_MLFLOW_URL"

#: Beginnings of links to the other server's pages. Stored links begin with them and name no host
#: and no port, so that they lead to wherever that server is when somebody follows them.
TO_DAGSTER, TO_MLFLOW = "/to/dagster", "/to/mlflow"

#: Opens MLflow's pages for training runs; without it they come up in their mode for chat traces.
WORKFLOW = "workflowType=machine_learning"


@dataclass(frozen=True)
class Doors:
    """Names under which a server may be asked, and targets of its links to the other one.

    Attributes
    ----------
    public
        Address that a proxy serves the pages under, or "".
    links
        From the beginning of a link to the address that stands for it.
    """

    public: str = ""
    links: tuple[tuple[str, str], ...] = ()

    @property
    def hosts(self) -> frozenset[str]:
        """Names that may stand in Host, without ports."""
        public = urlsplit(self.public).hostname if self.public else None
        return LOOPBACK | ({public} if public else set())

    def target(self, path: str, query: str) -> str | None:
        """Target of a link to the other server's pages; None for any other path."""
        for beginning, address in self.links:
            if path == beginning or path.startswith(f"{beginning}/"):
                rest = "?".join(filter(None, [path.removeprefix(beginning), query]))
                return f"{address.rstrip('/')}{rest}"
        return None


def dagster_doors(env: Mapping[str, str] = os.environ) -> Doors:
    """Doors of Dagster's pages, from the environment."""
    mlflow = env.get(PUBLIC_MLFLOW) or env.get(MLFLOW)
    links = ((TO_MLFLOW, f"{mlflow.rstrip('/')}/#"),) if mlflow else ()
    return Doors(env.get(PUBLIC_DAGSTER, ""), links)


def mlflow_doors(env: Mapping[str, str] = os.environ) -> Doors:
    """Doors of MLflow's pages, from the environment."""
    dagster = env.get(PUBLIC_DAGSTER) or env.get(DAGSTER)
    return Doors(env.get(PUBLIC_MLFLOW, ""), ((TO_DAGSTER, dagster),) if dagster else ())
