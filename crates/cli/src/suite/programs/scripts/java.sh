/usr/lib/jvm/java-17-openjdk-amd64/bin/java -Xms64m -Xmx512m ../Main.java
