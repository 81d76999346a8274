# The winner's speed-up over each peer against the number of tokens, a panel for each layer and scheme; below 1 the peer is faster.
panels = |layers| * |schemes|
columns = panels > 1 ? 2 : 1
rows = (panels + columns - 1) / columns
legend = 34 * ((|peers| + 5) / 5)
width = 1120
height = 106 + legend + 300 * rows
panel_top(i) = 1 - (94.0 + legend) / height - 300.0 / height * ((i - 1) / columns)
panel_left(i) = columns == 1 ? 0.08 : 0.08 + 0.5 * ((i - 1) % 2)
panel_right(i) = columns == 1 ? 0.98 : 0.485 + 0.5 * ((i - 1) % 2)
set logscale x 2
set logscale y 2

do for [format in "svg png"] {
{{picture}}
    set multiplot

    # The title and the legend stand in a strip of their own.
    set lmargin at screen 0.02
    set rmargin at screen 0.98
    set tmargin at screen 1 - 72.0 / height
    set bmargin at screen 1 - (72.0 + legend) / height
    set title what."\n".where textcolor rgb ink
    set key center center horizontal maxcols 5 samplen 3 width 2
    unset border; unset tics; unset xlabel; unset ylabel
    set xrange [1:2]
    set yrange [1:2]
    plot NaN with lines linewidth 2 linecolor rgb "#000000" dashtype (6, 4) title "as fast as the winner", \
        for [p = 1:|peers|] NaN with linespoints linewidth 2.2 pointsize 0.9 linecolor rgb colour(p) \
            pointtype 2 * p + 3 title peers[p]

    unset title; unset key
    set border 3
    set xtics () nomirror out scale 0.6 textcolor rgb ink font ",10" rotate by (|ms| > 9 ? -45 : 0)
    set for [i = 1:|ms|] xtics add (sprintf("%d", ms[i]) ms[i])
    set ytics () nomirror out scale 0.6 textcolor rgb ink font ",11"
    set for [e = -5:6] ytics add (e < 0 ? sprintf("1/%g", 2.0**-e) : sprintf("%g", 2.0**e) 2.0**e)
    set xlabel "tokens M" offset 0, 0.5 font ",12"
    do for [i = 1:panels] {
        l = (i - 1) / |schemes| + 1
        s = (i - 1) % |schemes| + 1
        mine(c) = column(1) == l && column(2) == s && valid(c) ? column(c) : NaN
        set xrange [*:*]
        set yrange [*:*]
        stats data using (mine(8)) nooutput name "R"
        if (!exists("R_records")) { R_records = 0 } # of this layer and scheme nothing is beside a peer
        set yrange [(R_records && R_min < 1 ? R_min : 1) / 1.3 : (R_records && R_max > 1 ? R_max : 1) * 2]
        set xrange [ms[1] / 1.3 : ms[|ms|] * 1.3]
        set lmargin at screen panel_left(i)
        set rmargin at screen panel_right(i)
        set tmargin at screen panel_top(i)
        set bmargin at screen panel_top(i) - 228.0 / height
        set label 1 layers[l]." ".schemes[s] at graph 0.03, graph 0.92 textcolor rgb ink front
        set label 2 "peer / winner (".times.")" at screen panel_left(i) - 0.06, graph 0.5 center rotate font ",12" textcolor rgb ink
        plot 1 with lines linewidth 2 linecolor rgb "#000000" dashtype (6, 4), \
            for [p = 1:|peers|] data using ($3 == p ? $5 : NaN):(times eq "measured" ? mine(8) : NaN):(mine(9)):(mine(10)) \
                with yerrorbars pointtype 0 linewidth 1.2 linecolor rgb colour(p), \
            for [p = 1:|peers|] data using ($3 == p && $1 == l && $2 == s ? $5 : NaN):8 \
                with linespoints linewidth 2.2 pointsize 0.9 linecolor rgb colour(p) pointtype 2 * p + 3
        unset label
    }
    unset multiplot
    set output
}
