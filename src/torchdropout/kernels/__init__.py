"""The kernels behind one signature; imported by `torchdropout.ops` alone, and only when first needed."""
