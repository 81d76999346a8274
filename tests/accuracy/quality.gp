# Perplexity against the time of a model's linear layers (picture.py, which sets the variables; reports/style.gp
# stands before it). Of the CSV: method number, method, scheme, microseconds, time over that of fp16 of a larger model, perplexity, both ends of its interval.
methods = 3
array called[3] = ["RTN", "GPTQ", "RTN, uniform"]
# Labels: of RTN on the right of its points, of GPTQ on the left; above and below them where the curves are flat.
flat(c, rest) = strcol(c) eq "p100" || strcol(c) eq rest
is(number, wanted, so) = number == wanted && so
panels = beside eq "" ? 1 : 2
width = panels > 1 ? 1120 : 660
height = 560
set offsets graph 0.08, graph 0.08, graph 0.06, graph 0.03

do for [format in "svg png"] {
    if (format eq "svg") {
        set terminal svg noenhanced size width, height font face background "#ffffff"
    } else {
        set terminal pngcairo noenhanced size 1.6 * width, 1.6 * height font face fontscale 1.6 linewidth 1.6 pointscale 1.6
    }
    set output name.".".format
    set multiplot layout 1, panels title model." on ".test.": quality and ".times." time, ".m." tokens, ".device offset 0, -0.3 textcolor rgb ink
    do for [i = 1:panels] {
        c = i == 1 ? 4 : 5
        # The legend stands once.
        if (i == panels) { set key top right samplen 3 textcolor rgb ink } else { unset key }
        set xlabel (i == 1 ? times." time of its linear layers, quantising counted (µs)" : times." time of ".beside." with the same shares, over fp16") font ",11"
        set ylabel "perplexity" font ",12"
        plot for [s = 1:methods] data every ::1 using ($1 == s ? column(c) : NaN):6 with lines linewidth 1.4 linecolor rgb colour(s) notitle, \
            for [s = 1:methods] data every ::1 using ($1 == s ? column(c) : NaN):6:7:8 with yerrorbars linewidth 1.4 pointtype 2 * s + 3 pointsize 0.9 \
                linecolor rgb colour(s) title called[s], \
            data every ::1 using (is($1, 1, !flat(3, "")) ? column(c) : NaN):6:3 with labels left offset 0.9, 0.35 font ",10" textcolor rgb colour(1) notitle, \
            data every ::1 using (is($1, 1, flat(3, "")) ? column(c) : NaN):6:3 with labels center offset 0, 0.9 font ",10" textcolor rgb colour(1) notitle, \
            data every ::1 using (is($1, 2, !flat(3, "p50")) ? column(c) : NaN):6:3 with labels right offset -0.9, -0.35 font ",10" textcolor rgb colour(2) notitle, \
            data every ::1 using (is($1, 2, flat(3, "p50")) ? column(c) : NaN):6:3 with labels center offset 0, -0.9 font ",10" textcolor rgb colour(2) notitle, \
            data every ::1 using ($1 == 0 ? column(c) : NaN):6 with points pointtype 3 pointsize 1.4 linecolor rgb ink title "fp16"
    }
    unset multiplot
    set output
}
