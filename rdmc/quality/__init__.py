"""How good an image is: PSNR and SSIM by the conventions of published tables, and measures that need no clean image."""
