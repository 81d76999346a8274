# What all plots share. Before this stand the variables that `mixtune report` sets:
#   name (of the files, without extension), data (CSV), what, where (two lines of the title), times (the words for its times),
#   baseline (its name with its kernels), counted, floors and marked (1 where the time of quantising, the floors, and states of the
#   device that differ are there), layers, schemes, ms (lists of words).
# The colours are those of Okabe and Ito, which people with any colour vision tell apart.
colours = "#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #8B6914 #6A3D9A"
ink = "#222222"
colour(i) = word(colours, (i - 1) % words(colours) + 1)
order(list, w) = sum [i = 1:words(list)] (word(list, i) eq w ? i : 0)
terminal(format, w, h) = format eq "svg" \
    ? sprintf("set terminal svg noenhanced size %d,%d font 'DejaVu Sans,14' background '#ffffff'", w, h) \
    : sprintf("set terminal pngcairo noenhanced size %d,%d font 'DejaVu Sans,14' fontscale 1.6 linewidth 1.6 pointscale 1.6", \
              int(1.6 * w), int(1.6 * h))

set datafile separator comma
set datafile missing ""
set encoding utf8
set border 3 linecolor rgb "#666666"
set tics nomirror out scale 0.6 textcolor rgb ink
set grid xtics ytics linecolor rgb "#dddddd" linetype 1 linewidth 0.7
set errorbars 0
set for [w in ms] xtics add (w real(w))
