// The names of time zones that Java reads in the locale en-US, and the zone that each stands for: the table
// `src/decode/datetime/pattern/zone_names.tsv`. Run with Java 17, which Spark 4.0 runs on: `java tests/rig/JavaZoneNames.java`.
//
// One name a line: `short` (the letters z, zz, zzz, v) or `full` (zzzz, vvvv), the name, the zone.
import java.io.PrintStream;
import java.text.DateFormatSymbols;
import java.time.DateTimeException;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.time.temporal.TemporalQueries;
import java.util.Locale;
import java.util.TreeSet;

public class JavaZoneNames {
    public static void main(String[] args) throws Exception {
        if (Runtime.version().feature() != 17) {
            System.err.println("JavaZoneNames: this is Java " + Runtime.version().feature() + ", the table is that of Java 17");
            System.exit(1);
        }
        var names = new TreeSet<String>();
        for (String[] row : DateFormatSymbols.getInstance(Locale.US).getZoneStrings()) {
            for (int at = 1; at < row.length; at++) {
                if (row[at] != null && !row[at].isEmpty()) {
                    names.add(row[at]);
                }
            }
        }
        var out = new PrintStream(System.out, true, "UTF-8");
        for (String[] form : new String[][] {{"short", "z"}, {"full", "zzzz"}}) {
            DateTimeFormatter formatter =
                new DateTimeFormatterBuilder().parseCaseInsensitive().appendPattern(form[1]).toFormatter(Locale.US);
            for (String name : names) {
                try {
                    out.println(form[0] + "\t" + name + "\t" + formatter.parse(name).query(TemporalQueries.zone()));
                } catch (DateTimeException e) {
                    // A name of the other length.
                }
            }
        }
    }
}
