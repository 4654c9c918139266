"""Colours of all pictures."""

# Okabe and Ito's palette: told apart with any colour vision, and by lightness on a photograph.
SIDE_COLOURS = {"right": "#D55E00", "left": "#56B4E9", "trunk": "#F0E442"}
PEOPLE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
# Paul Tol's bright palette: lines on white.
LINES = ("#4477AA", "#EE6677", "#228833", "#AA3377", "#66CCEE", "#CCBB44", "#999999")
INK, FAINT = "#333333", "#DDDDDD"
