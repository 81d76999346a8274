# Time against the number of tokens, a panel for each layer: the winner of each scheme, and the fp16 baseline.
columns = |layers| > 1 ? 2 : 1
rows = (|layers| + columns - 1) / columns
width = 1050
height = 140 + 300 * rows
panel_top(i) = 1 - 128.0 / height - 300.0 / height * ((i - 1) / columns)
panel_left(i) = columns == 1 ? 0.08 : 0.08 + 0.5 * ((i - 1) % 2)
panel_right(i) = columns == 1 ? 0.98 : 0.485 + 0.5 * ((i - 1) % 2)
set logscale x 2
set logscale y 10
set grid xtics ytics linecolor rgb "#dddddd" linetype 1 linewidth 0.7

do for [format in "svg png"] {
{{picture}}
    set multiplot

    # The title and the legend stand in a strip of their own.
    set lmargin at screen 0.02
    set rmargin at screen 0.98
    set tmargin at screen 1 - 72.0 / height
    set bmargin at screen 1 - 100.0 / height
    set title what."\n".where textcolor rgb ink
    set key center center horizontal samplen 3 width 2
    unset border; unset tics; unset xlabel; unset ylabel
    set xrange [1:2]
    set yrange [1:2]
    plot for [b = 1:baselined] NaN with linespoints linewidth 2 linecolor rgb "#000000" dashtype (6, 4) pointtype 6 \
            pointsize 0.7 title baseline, \
        for [s = 1:|schemes|] NaN with linespoints linewidth 2.2 pointsize 0.9 linecolor rgb colour(s) \
            pointtype 2 * s + 3 title schemes[s]

    unset title; unset key
    set border 3
    set xtics () nomirror out scale 0.6 textcolor rgb ink font ",10" rotate by (|ms| > 9 ? -45 : 0)
    set for [i = 1:|ms|] xtics add (sprintf("%d", ms[i]) ms[i])
    set ytics () nomirror out scale 0.6 textcolor rgb ink font ",11"
    set for [e = -2:7] ytics add (sprintf("%g", 10**e) 10**e, sprintf("%g", 2 * 10**e) 2 * 10**e, sprintf("%g", 5 * 10**e) 5 * 10**e)
    set xlabel "tokens M" offset 0, 0.5 font ",12"
    do for [i = 1:|layers|] {
        mine(c) = column(1) == i && valid(c) ? column(c) : NaN
        set xrange [*:*]
        set yrange [*:*]
        stats data using (mine(6)) nooutput name "T"
        if (baselined) { stats data using (mine(9)) nooutput name "B" }
        if (!exists("B_min")) { B_min = T_min; B_max = T_max } # this layer has no baseline
        set yrange [(B_min < T_min ? B_min : T_min) / 1.6 : (B_max > T_max ? B_max : T_max) * 1.6]
        set xrange [ms[1] / 1.3 : ms[|ms|] * 1.3]
        set lmargin at screen panel_left(i)
        set rmargin at screen panel_right(i)
        set tmargin at screen panel_top(i)
        set bmargin at screen panel_top(i) - 228.0 / height
        set label 1 layers[i] at graph 0.03, graph 0.92 textcolor rgb ink front
        set label 2 "µs (".times.")" at screen panel_left(i) - 0.06, graph 0.5 center rotate font ",12" textcolor rgb ink
        plot for [b = 1:baselined] data using ($1 == i && $2 == 1 ? $5 : NaN):9 \
                with linespoints linewidth 2 linecolor rgb "#000000" dashtype (6, 4) pointtype 6 pointsize 0.7, \
            for [s = 1:|schemes|] data using ($1 == i && $2 == s ? $5 : NaN):6 with linespoints linewidth 2.2 \
                pointsize 0.9 linecolor rgb colour(s) pointtype 2 * s + 3
        unset label
    }
    unset multiplot
    set output
}
