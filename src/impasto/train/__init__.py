"""Training of networks, on Lightning Fabric (extra ``train``): `config`, `data`, `loop`, and one file
for what is particular to a method.
"""
