import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.util.net.SSLHostConfig;
import org.apache.tomcat.util.net.SSLHostConfigCertificate;

/** Polls answered by a servlet from a map: what a provisioning service in Java would do by itself. */
public class PollServlet extends HttpServlet {
  private final ConcurrentHashMap<String, Boolean> pending = new ConcurrentHashMap<>();

  PollServlet(int known) {
    for (int n = 0; n < known; n++) pending.put(String.format("001ae8%06x", n), n % 2 == 0);
  }

  @Override
  protected void doGet(HttpServletRequest request, HttpServletResponse response) {
    String device = request.getParameter("device-id");
    boolean work = device != null && pending.getOrDefault(device, false);
    response.setStatus(work ? 202 : 200);
    response.setContentLength(0);
  }

  /** Arguments: directory for its own files, plain port, TLS port, certificate, key, number of known devices. */
  public static void main(String[] args) throws Exception {
    Tomcat tomcat = new Tomcat();
    tomcat.setBaseDir(args[0]);
    Connector plain = connector(Integer.parseInt(args[1]));
    tomcat.setConnector(plain);
    Connector secure = connector(Integer.parseInt(args[2]));
    secure.setScheme("https");
    secure.setSecure(true);
    secure.setProperty("SSLEnabled", "true");
    SSLHostConfig tls = new SSLHostConfig();
    tls.setProtocols("TLSv1.3");
    SSLHostConfigCertificate certificate =
        new SSLHostConfigCertificate(tls, SSLHostConfigCertificate.Type.EC);
    certificate.setCertificateFile(args[3]);
    certificate.setCertificateKeyFile(args[4]);
    tls.addCertificate(certificate);
    secure.addSslHostConfig(tls);
    tomcat.getService().addConnector(secure);
    Context context = tomcat.addContext("", args[0]);
    Tomcat.addServlet(context, "polls", new PollServlet(Integer.parseInt(args[5])));
    context.addServletMappingDecoded("/dcmp/contact-me", "polls");
    tomcat.start();
    tomcat.getServer().await();
  }

  private static Connector connector(int port) {
    Connector connector = new Connector("org.apache.coyote.http11.Http11NioProtocol");
    connector.setPort(port);
    connector.setProperty("address", "127.0.0.1");
    // As the others here: a connection is kept for a thousand requests.
    connector.setProperty("maxKeepAliveRequests", "1000");
    return connector;
  }
}
