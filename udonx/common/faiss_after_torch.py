"""faiss, imported after torch.

torch and faiss each load their own OpenMP. Loaded after faiss, torch's aborts or hangs on some
platforms; loaded before it, both work. Every module takes faiss from here, so the order is fixed
here and nowhere else.
"""

from typing import Any

import torch  # noqa: F401  isort: skip
import faiss as _faiss  # isort: skip

# its stubs lack parts of the classes that SWIG makes
faiss: Any = _faiss

__all__ = ["faiss"]
