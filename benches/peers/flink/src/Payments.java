import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.StatementSet;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/**
 * Reads a topic of payments to its end and computes twelve features over three windows for every payment, in Flink SQL. Prints what it runs on, and in its last line the processor seconds of this
 * process and the seconds on the wall from when the job is handed over until it has ended.
 *
 * Arguments: the brokers, the topic, the number of partitions, which is the parallelism. The property {@code checkpoints} is how far apart those are, a second by default.
 */
public final class Payments {
    private static final String[] WINDOWS = {"1' HOUR", "1' DAY", "30' DAY(2)"};

    private Payments() {}

    public static void main(String[] arguments) throws Exception {
        String brokers = arguments[0];
        String topic = arguments[1];
        System.out.println(versions());
        Path state = Files.createTempDirectory("flink-state");
        Configuration settings = new Configuration();
        settings.setString("state.backend.type", "rocksdb");
        settings.setString("state.backend.rocksdb.localdir", state.toString());
        settings.setString("execution.checkpointing.dir", state.resolve("checkpoints").toUri().toString());
        settings.setString("execution.checkpointing.interval", System.getProperty("checkpoints", "1s"));
        settings.setString("execution.checkpointing.incremental", "true");
        settings.setString("taskmanager.memory.managed.size", "512m");
        settings.setString("taskmanager.memory.network.max", "256m");
        settings.setString("pipeline.object-reuse", "true");
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        environment.setParallelism(Integer.parseInt(arguments[2]));
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        tables.executeSql(source(brokers, topic));
        StatementSet all = tables.createStatementSet();
        // Flink wants all windows of one SELECT to be the same, so that three windows are three queries over one source. What joins their rows again is left out, in its favour.
        for (int window = 0; window < WINDOWS.length; window++) {
            tables.executeSql(sink(window));
            all.addInsertSql(query(window));
        }
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long processor = system.getProcessCpuTime();
        long wall = System.nanoTime();
        all.execute().await();
        System.out.printf("%.3f %.3f%n", (system.getProcessCpuTime() - processor) / 1e9, (System.nanoTime() - wall) / 1e9);
        System.exit(0);
    }

    /** The virtual machine, and the artefacts of Flink by their names, which have their versions. */
    private static String versions() {
        String[] path = System.getProperty("java.class.path").split(java.io.File.pathSeparator);
        Stream<String> names = Arrays.stream(path).map(entry -> Path.of(entry).getFileName().toString());
        String wanted = "flink-(clients|table-planner-loader|table-runtime|json|sql-connector-kafka|statebackend-rocksdb)-.*\\.jar";
        String artefacts = names.filter(name -> name.matches(wanted)).map(name -> name.replace(".jar", "")).sorted().collect(Collectors.joining(", "));
        return "Java " + Runtime.version() + ", " + artefacts;
    }

    private static String source(String brokers, String topic) {
        return "CREATE TABLE payments (id BIGINT, account BIGINT, amount DOUBLE, kind STRING, paid_at TIMESTAMP(3),"
                + " WATERMARK FOR paid_at AS paid_at - INTERVAL '1' HOUR) WITH ('connector' = 'kafka', 'topic' = '" + topic + "',"
                + " 'properties.bootstrap.servers' = '" + brokers + "', 'properties.group.id' = 'flink', 'scan.startup.mode' = 'earliest-offset',"
                + " 'scan.bounded.mode' = 'latest-offset', 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601')";
    }

    private static String sink(int window) {
        return "CREATE TABLE features_" + window + " (account BIGINT, paid_at TIMESTAMP(3), payments BIGINT, spent DOUBLE, average DOUBLE, largest DOUBLE)"
                + " WITH ('connector' = 'blackhole')";
    }

    private static String query(int window) {
        return "INSERT INTO features_" + window + " SELECT account, CAST(paid_at AS TIMESTAMP(3)), COUNT(*) OVER w, SUM(amount) OVER w, AVG(amount) OVER w, MAX(amount) OVER w"
                + " FROM payments WINDOW w AS (PARTITION BY account ORDER BY paid_at RANGE BETWEEN INTERVAL '" + WINDOWS[window]
                + " PRECEDING AND CURRENT ROW)";
    }
}
