"""Files that consist of boxes: AVIF and HEIC, and partly JPEG XL and JPEG 2000."""
