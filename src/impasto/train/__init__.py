"""Training of networks on Lightning Fabric; it needs the extra ``train``.

`trainer` has the loop, `run` the files, `task` the base class of what can be trained: `adain`,
`fast` and `styletr`. `config`, `data`, `validation`, `log` and `fabric` serve all of them, and
`perceptual`, `revision` and `teacher` are parts of their losses.
"""
