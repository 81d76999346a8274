# What all plots share. Before this stand the variables that `mixtune report` sets:
#   name (of the files, without extension), data (CSV), what, where (two lines of the title), times (the words for its times),
#   baseline (its name with its kernels), baselined, counted, floors and marked (1 where a baseline, the time of quantising, the floors,
#   and states of the device that differ are there), layers, schemes, peers (arrays of names), ms (an array of numbers).
# In place of {{picture}} stand the lines that begin a picture of `width` and `height`.
# Names are data: they stand in arrays, and nothing of them is ever a word, a format or a command. In the CSV the first columns say by
# number which name a row is of.
# The colours are those of Okabe and Ito, which people with any colour vision tell apart.
colours = "#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9 #8B6914 #6A3D9A"
ink = "#222222"
colour(i) = word(colours, (i - 1) % words(colours) + 1)
face = "DejaVu Sans,14"
longest = 0 # characters of a layer and scheme
if (exists("layers")) {
    do for [l = 1:|layers|] for [s = 1:|schemes|] {
        if (strlen(layers[l]." ".schemes[s]) > longest) { longest = strlen(layers[l]." ".schemes[s]) }
    }
}

set datafile separator comma
set datafile missing ""
set encoding utf8
set border 3 linecolor rgb "#666666"
set tics nomirror out scale 0.6 textcolor rgb ink
set grid xtics ytics linecolor rgb "#dddddd" linetype 1 linewidth 0.7
set errorbars 0
if (exists("ms")) { set for [i = 1:|ms|] xtics add (sprintf("%d", ms[i]) ms[i]) }
