"""The measurement campaign: stages that time inference on one device and write tidy CSV, row by row.

It runs from the source tree and needs torch and numpy there; everything else is optional. `stages` names what is
measured, `plan` in which order, `runner` does it, `summarise` turns what came back into a folder of measurements.
"""
