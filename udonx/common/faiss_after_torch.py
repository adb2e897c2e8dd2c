"""faiss, imported after torch.

torch and faiss each load their own OpenMP. Loaded after faiss, torch's aborts or hangs on some
platforms; loaded before it, both work. Every module takes faiss from here, so the order is fixed
here and nowhere else.
"""

import torch  # noqa: F401  isort: skip
import faiss  # isort: skip

__all__ = ["faiss"]
