import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Keys in hex on stdin, one a line; where a Java producer with no settings of its own puts each, on stdout. */
public class Partitions {
    public static void main(String[] topics) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", System.getenv("BROKER"));
        String[] keys = new String(System.in.readAllBytes(), StandardCharsets.US_ASCII).split("\n");
        ByteArraySerializer raw = new ByteArraySerializer();
        List<List<Future<RecordMetadata>>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, raw, raw)) {
            for (String key : keys) {
                List<Future<RecordMetadata>> row = new ArrayList<>();
                for (String topic : topics) {
                    row.add(producer.send(new ProducerRecord<>(topic, HexFormat.of().parseHex(key), new byte[0])));
                }
                sent.add(row);
            }
        }
        for (int i = 0; i < keys.length; i++) {
            StringBuilder line = new StringBuilder(keys[i]);
            for (Future<RecordMetadata> metadata : sent.get(i)) {
                line.append(',').append(metadata.get().partition());
            }
            System.out.println(line);
        }
    }
}
