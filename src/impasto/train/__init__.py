"""Training of networks, on Lightning Fabric (extra ``train``).

`config`, `data` and `loop` serve every network; what is particular to one has a file of its own.
"""
