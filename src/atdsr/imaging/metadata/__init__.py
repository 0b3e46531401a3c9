"""Metadata of pictures: EXIF, XMP, and the tag tables of TIFF that EXIF is made of."""
