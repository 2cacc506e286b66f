"""What all tests share: no network, neither in this process nor in those that tests start. See no_network/."""

import os
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_NO_NETWORK = str(_HERE / "no_network")

# The loader must notice a missing network by itself, so the hub is not told to stay offline: it just finds none.
if _NO_NETWORK not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    _paths = [_NO_NETWORK, str(_HERE.parent), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _paths))
    for _name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[_name]  # a proxy on this machine would be a way out
    sys.modules.pop("sitecustomize", None)
    sys.path.insert(0, _NO_NETWORK)
    import sitecustomize  # noqa: F401 (importing it is what blocks the network)

    sys.path.remove(_NO_NETWORK)
