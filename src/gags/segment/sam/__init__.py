"""Ways to run SAM: `mobile` (MobileSAM's ONNX exports), `hub` (SAM, SAM-HQ and SAM 2 through `transformers`).

The mask decoder of `mobile` is in `decoder`, its mathematics in `low_rank`, its inner loops are in `passes`,
`products` and `kernels`; `export` reads its weights.
"""
