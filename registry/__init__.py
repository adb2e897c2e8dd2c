"""What can be plugged into udonx: backbones, heads, losses, metrics, samplers and schemes.

>>> from registry import losses
>>> "kl_logit" in losses.names()
True
"""
