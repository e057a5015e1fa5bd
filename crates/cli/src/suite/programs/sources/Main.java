import java.util.*;
import java.util.stream.*;

public class Main {
    record Item(int key, String name, double weight) {}

    static long collect() {
        long sum = 0;
        List<byte[]> kept = new ArrayList<>();
        for (int i = 0; i < 200_000; i++) {
            byte[] some = new byte[64 + i % 2000];
            some[i % some.length] = (byte) i;
            if (i % 40 == 0) kept.add(some);
            if (kept.size() > 2000) kept.subList(0, 1000).clear();
            sum += some.length + some[i % some.length];
        }
        return sum + kept.size();
    }

    static long compute() {
        int[] sieve = new int[400_000];
        long sum = 0;
        for (int round = 0; round < 6; round++) {
            Arrays.fill(sieve, 0);
            for (int i = 2; i < sieve.length; i++) {
                if (sieve[i] != 0) continue;
                sum += i ^ round;
                for (long k = (long) i * i; k < sieve.length; k += i) sieve[(int) k] = i;
            }
        }
        return sum;
    }

    static String objects() {
        Map<String, List<Item>> groups = new TreeMap<>();
        for (int i = 0; i < 60_000; i++) {
            Item item = new Item(i, "item" + i % 977, i * 0.25);
            groups.computeIfAbsent(item.name().substring(0, Math.min(6, item.name().length())), k -> new ArrayList<>()).add(item);
        }
        return groups.entrySet().stream()
            .map(e -> e.getKey() + "=" + e.getValue().stream().mapToDouble(Item::weight).sum())
            .collect(Collectors.joining(";"));
    }

    public static void main(String[] words) {
        System.out.println("collect " + collect());
        System.out.println("compute " + compute());
        System.out.println("objects " + objects().hashCode());
    }
}
