"""The machine and its cards beside the library: CANN, pyACL, npu-smi, memory, what a node keeps."""
