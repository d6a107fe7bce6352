"""The networks, as `nn.Module`s named as segment-anything names them, so that its state dicts load strictly."""
