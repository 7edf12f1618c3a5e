import java.lang.reflect.Field;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import software.amazon.dynamodb.services.local.main.ServerRunner;
import software.amazon.dynamodb.services.local.server.DynamoDBProxyServer;

/**
 * DynamoDB Local, in memory, on loopback only: by itself it listens on every address, and there is
 * no option for that. The argument is the port; 0 takes a free one, which it would refuse, too.
 */
class Loopback {
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        DynamoDBProxyServer local = ServerRunner.createServerFromCommandLineArgs(
            new String[] {"-inMemory", "-sharedDb", "-disableTelemetry"});
        Field field = DynamoDBProxyServer.class.getDeclaredField("server");
        field.setAccessible(true);
        ServerConnector connector = (ServerConnector) ((Server) field.get(local)).getConnectors()[0];
        connector.setHost("127.0.0.1");
        connector.setPort(port);
        local.start();
        System.out.println("ready  DynamoDB Local on http://127.0.0.1:" + connector.getLocalPort());
        local.join();
    }
}
