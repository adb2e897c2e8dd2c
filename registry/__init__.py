"""What can be plugged into udonx: backbones, heads, losses, metrics, samplers, updates and so on.

>>> from registry import losses
>>> "kl_logit" in losses.names()
True
"""
