// The names of months, eras and half days of every locale that Java has, as its DateTimeFormatter writes them: the table
// `src/decode/datetime/pattern/names.tsv`. Run with Java 17, which Spark 4.0 runs on: `java tests/rig/JavaNames.java`.
//
// One locale a line, by tag in lower case, if its names are not those of its parent (the tag without its last part, at last
// `und`): the tag, then MMM, MMMM, LLL, LLLL (empty: as MMM, MMMM), G, GGGG and a, each as names with | between them.
import java.io.PrintStream;
import java.time.LocalDate;
import java.time.LocalTime;
import java.time.format.DateTimeFormatter;
import java.time.temporal.TemporalAccessor;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.TreeMap;

public class JavaNames {
    public static void main(String[] args) throws Exception {
        if (Runtime.version().feature() != 17) {
            System.err.println("JavaNames: this is Java " + Runtime.version().feature() + ", the table is that of Java 17");
            System.exit(1);
        }
        var locales = new ArrayList<Locale>(List.of(Locale.getAvailableLocales()));
        locales.add(Locale.ROOT);
        locales.sort(Comparator.comparing(locale -> locale.toLanguageTag().chars().filter(c -> c == '-').count()));
        var table = new TreeMap<String, String>();
        table.put("und", names(Locale.ROOT));
        for (Locale locale : locales) {
            String tag = locale.toLanguageTag().toLowerCase(Locale.ROOT);
            if (!names(locale).equals(table.get(parent(table, tag)))) {
                table.put(tag, names(locale));
            }
        }
        var out = new PrintStream(System.out, true, "UTF-8");
        table.forEach((tag, names) -> out.println(tag + "\t" + names));
    }

    static String parent(TreeMap<String, String> table, String tag) {
        while (tag.contains("-")) {
            tag = tag.substring(0, tag.lastIndexOf('-'));
            if (table.containsKey(tag)) {
                return tag;
            }
        }
        return "und";
    }

    static String names(Locale locale) {
        var months = new ArrayList<TemporalAccessor>();
        for (int month = 1; month <= 12; month++) {
            months.add(LocalDate.of(2026, month, 1));
        }
        List<TemporalAccessor> eras = List.of(LocalDate.of(-1, 1, 1), LocalDate.of(2026, 1, 1));
        List<TemporalAccessor> halves = List.of(LocalTime.of(1, 0), LocalTime.of(13, 0));
        String abbreviated = list("MMM", months, locale);
        String full = list("MMMM", months, locale);
        String abbreviatedAlone = list("LLL", months, locale);
        String fullAlone = list("LLLL", months, locale);
        return String.join("\t", abbreviated, full, abbreviatedAlone.equals(abbreviated) ? "" : abbreviatedAlone,
            fullAlone.equals(full) ? "" : fullAlone, list("G", eras, locale), list("GGGG", eras, locale), list("a", halves, locale));
    }

    static String list(String pattern, List<TemporalAccessor> values, Locale locale) {
        var formatter = DateTimeFormatter.ofPattern(pattern, locale);
        return String.join("|", values.stream().map(formatter::format).toList());
    }
}
