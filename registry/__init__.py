"""What can be plugged into udonx: backbones, heads, losses, samplers and schemes.

>>> from registry import losses
>>> "kl_logit" in losses.names()
True
"""
