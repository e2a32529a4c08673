# SPDX-License-Identifier: GPL-3.0-or-later
"""A mosaic as a HiPS (IVOA HiPS 1.0): a folder of small pictures that Aladin, and any static web host, shows.

`reproject` puts the light onto the HEALPix grid, as FITS tiles of all orders with a plane a colour; each becomes a
picture, stretched as `mosaic.png` is, and clear where there is no data. What takes memory lies on the disk.
"""
