# Speed-up over the fp16 baseline against the number of tokens, a colour for each layer, a dash and a point for each scheme. The headline, with
# the time of quantising the activations, stands first; beside it the same without. Below each its share of the floor, where that is known.
figures = counted ? "13 10" : "10"
shares = floors ? (counted ? "17 16" : "16") : ""
columns = words(figures)
rows = floors ? 2 : 1
curves = |layers| * |schemes|
fitting = int((columns > 1 ? 1120 : 760) / (9 * longest + 50))
per_line = fitting < 1 ? 1 : fitting < (columns > 1 ? 4 : 3) ? fitting : columns > 1 ? 4 : 3
letters = longest > 60 ? ",9" : ",14"
legend = 26 * ((curves + per_line - 1) / per_line)
height = 160 + legend + 420 + (rows > 1 ? 300 : 0)
width = columns > 1 ? 1120 : 760
panel_top(i) = 1 - (116.0 + legend + (i > 1 ? 460 : 0)) / height
panel_bottom(i) = panel_top(i) - (i > 1 ? 200.0 : 370.0) / height
panel_left(i) = columns == 1 ? 0.1 : 0.075 + 0.5 * (i - 1)
panel_right(i) = columns == 1 ? 0.97 : 0.485 + 0.5 * (i - 1)
said(c) = c == 13 ? "quantising counted" : "the kernel alone, without quantising"
mine(l, s, c) = column(1) == l && column(2) == s && valid(c) ? column(c) : NaN
set logscale x 2

do for [format in "svg png"] {
{{picture}}
    set multiplot

    # The title and the legend stand in a strip of their own.
    set lmargin at screen 0.02
    set rmargin at screen 0.98
    set tmargin at screen 1 - 88.0 / height
    set bmargin at screen 1 - (88.0 + legend) / height
    set title what."\n".where."\nover the ".baseline textcolor rgb ink
    set key center center horizontal maxcols per_line samplen 4 width 2 font letters
    unset border; unset tics; unset xlabel; unset ylabel
    set xrange [1:2]
    set yrange [1:2]
    plot for [l = 1:|layers|] for [s = 1:|schemes|] NaN with linespoints linewidth 2.2 pointsize 0.9 \
            linecolor rgb colour(l) dashtype s pointtype 2 * s + 3 title layers[l]." ".schemes[s]

    unset title; unset key
    set border 3
    set xtics () nomirror out scale 0.6 textcolor rgb ink font ",10" rotate by (|ms| > 9 ? -45 : 0)
    set for [i = 1:|ms|] xtics add (sprintf("%d", ms[i]) ms[i])
    set ytics autofreq nomirror out scale 0.6 textcolor rgb ink font ",11"
    set xlabel "tokens M" offset 0, 0.5 font ",12"
    if (marked) { set label 3 "circled: the two sides were measured in different states of the device" at screen 0.98, screen 0.012 right font ",10" textcolor rgb ink }
    # One scale for the figures, so that they compare.
    set xrange [*:*]
    set yrange [*:*]
    stats data using (valid(10) ? column(10) : NaN) nooutput name "R"
    set xrange [ms[1] / 1.3 : ms[|ms|] * 1.3]
    do for [i = 1:columns] {
        c = int(word(figures, i))
        set lmargin at screen panel_left(i)
        set rmargin at screen panel_right(i)
        set tmargin at screen panel_top(1)
        set bmargin at screen panel_bottom(1)
        set yrange [0:(R_max > 1 ? R_max : 1) * 1.12]
        set label 1 said(c) at graph 0.03, graph 0.96 textcolor rgb ink front
        set label 2 "speed-up over the baseline (".times.")" at screen panel_left(i) - 0.045, graph 0.5 center rotate font ",12" textcolor rgb ink
        plot 1 with lines linewidth 2 linecolor rgb "#000000" dashtype (6, 4), \
            for [l = 1:|layers|] for [s = 1:|schemes|] data \
                using ($1 == l && $2 == s ? $5 : NaN):(times eq "measured" ? mine(l, s, c) : NaN):(mine(l, s, c + 1)):(mine(l, s, c + 2)) \
                with yerrorbars pointtype 0 linewidth 1.2 linecolor rgb colour(l), \
            for [l = 1:|layers|] for [s = 1:|schemes|] data using ($1 == l && $2 == s ? $5 : NaN):c \
                with linespoints linewidth 2.2 pointsize 0.9 linecolor rgb colour(l) dashtype s \
                pointtype 2 * s + 3, \
            data using ($18 == 1 ? $5 : NaN):c with points pointtype 6 pointsize 2 linewidth 1.4 linecolor rgb ink
    }
    do for [i = 1:words(shares)] {
        c = int(word(shares, i))
        set lmargin at screen panel_left(i)
        set rmargin at screen panel_right(i)
        set tmargin at screen panel_top(2)
        set bmargin at screen panel_bottom(2)
        set yrange [0:100]
        unset label 1
        set label 2 "share of the floor (%)" at screen panel_left(i) - 0.045, graph 0.5 center rotate font ",12" textcolor rgb ink
        plot for [l = 1:|layers|] for [s = 1:|schemes|] data using ($1 == l && $2 == s ? $5 : NaN):(100 * mine(l, s, c)) \
                with linespoints linewidth 2.2 pointsize 0.9 linecolor rgb colour(l) dashtype s \
                pointtype 2 * s + 3
    }
    unset label
    unset multiplot
    set output
}
