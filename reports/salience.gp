# The share of each class of linear layers that keeps 8 bits, by decoder layer: a line of cells for each class, light where nothing has 8 bits
# and dark where all have. The scale is one of square roots, since a class may have some percent where another has nearly all.
lines = |classes|
cells = 12 * decoders
width = 260 + (cells < 720 ? 720 : cells > 1400 ? 1400 : cells)
height = 180 + 44 * lines
line_of(c) = lines + 1 - c
root(p) = sqrt(p / 100.0)

set title model.": share of the features with 8 bits\n".chosen textcolor rgb ink
set xlabel "decoder layer" textcolor rgb ink
unset grid
unset key
set border 0
set tics scale 0
if (decoders > 20) { set xtics autofreq } else { set xtics 0, 1 }
set ytics ()
set for [c = 1:lines] ytics add (classes[c] line_of(c))
set xrange [-0.5:decoders - 0.5]
set yrange [0.5:lines + 0.5]
set palette defined (0 "#f7f7f7", 0.1 "#deebf7", 0.32 "#9ecae1", 0.55 "#4292c6", 0.75 "#08519c", 1 "#08204a")
set cbrange [0:1]
set cbtics ("0" 0, "1" root(1), "5" root(5), "10" root(10), "25" root(25), "50" root(50), "75" root(75), "100" 1)
set cblabel "features with 8 bits (percent)" textcolor rgb ink
set style fill solid 1.0 border linecolor rgb "#ffffff"

do for [format in "svg png"] {
{{picture}}
    plot data using 3:(line_of($1)):(0.5):(0.5):(root($6)) with boxxyerror linewidth 1 linecolor palette
    set output
}
